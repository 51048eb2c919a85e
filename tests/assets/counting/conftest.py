"""The models of these tests are those of the histograms' tests."""

from tests.assets.histograms.conftest import one_thread, planted, planted_folder, stories, stories_windows

__all__ = ["one_thread", "planted", "planted_folder", "stories", "stories_windows"]
