"""The metrics put to the test on videos whose truth is known: what `wanexp validate` does.

``scenes.py`` says what is filmed, ``ladders.py`` what is done to it and by how much,
``readings.py`` measures all of it, ``rules.py`` says what must hold, and ``page.py`` and
``plots.py`` show it.

Axes: B scenes, T frames, H W pixels, 3 colours in [−1, 1].
"""
