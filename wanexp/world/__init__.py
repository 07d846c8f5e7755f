"""Procedural videos whose truth is known: they teach wan-mini and put the metrics to the test.

A scene is numbers (``scene.py``), drawn from a seed on the CPU and therefore the same everywhere.
``render.py`` turns scenes into videos with exact optical flow, masks and boxes, ``captions.py``
into prompts, and ``faults.py`` spoils a video by a known amount.

Axes: B scenes, T frames, H W pixels, 3 colours in [−1, 1]. Lengths are in half smaller sides: the
smaller side of a frame spans [−1, 1]. Time is 0 at the first frame and 1 at the seventeenth.
"""
