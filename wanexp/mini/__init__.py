"""wan-mini: a miniature Wan 2.2, small enough for a laptop and for tests."""
