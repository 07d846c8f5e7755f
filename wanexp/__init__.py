"""wanexp: the lab bench for Wan 2.2 image-to-video."""
