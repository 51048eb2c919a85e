// The numbers of a neuron that every page of it tells, by the names that it gives them.
"use strict";
const statisticsOf = (statistics) => {
  const { number, percent, count } = Atlas;
  const deviation = statistics.variance === null ? null : Math.sqrt(statistics.variance);
  return [["Mean", number(statistics.mean)], ["Standard deviation", number(deviation)], ["Skewness", number(statistics.skewness)], ["Kurtosis", number(statistics.kurtosis)],
    ["Minimum", number(statistics.minimum)], ["Maximum", number(statistics.maximum)], ["Above zero", percent(statistics.share_above_zero)], ["Counted positions", count(statistics.count)]];
};
const outsideBins = (statistics) => {
  const { count, plural } = Atlas, beyond = statistics.underflow + statistics.overflow;
  return `${beyond ? `${plural(beyond, "position")} outside the bins: ${count(statistics.underflow)} below, ${count(statistics.overflow)} above.` : "No position lies outside the bins."}${statistics.nan ? ` At ${plural(statistics.nan, "position")} the activation is not a number.` : ""}`;
};
