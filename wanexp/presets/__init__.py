"""Presets: a recipe with its evidence, in a form that another program runs; and the way back.

``export`` writes, ``importing`` reads. Targets are ``preset`` (YAML with plan and evidence),
``hydra`` (a recipe file), ``comfyui`` (a workflow in API format) and ``diffusers`` (a script that
needs no wanexp). What a target cannot express is refused by name, never approximated.
"""
