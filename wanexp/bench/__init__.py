"""How fast the parts are, each beside what it has to keep up with: `wanexp bench`.

``row.py`` has what a benchmark returns and the clock, ``command.py`` the table of benchmarks, and
every other file one benchmark. Nothing here needs Hydra, MLflow or diffusers to be imported, so
that a machine with torch, numpy and OpenCV alone can run what needs no more than those.
"""
