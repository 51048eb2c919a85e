"""Records of neurons in the form that tools of automated interpretability read, and the folder of them."""
