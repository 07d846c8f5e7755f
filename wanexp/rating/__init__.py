"""Blind rating: people look at two videos of one case and seed and say which is better.

``pairs`` draws what is shown, ``votes`` keeps what is said beside the study, ``server`` shows it on
this machine alone, ``results`` counts (with ``analysis.preference``), ``command`` is the verb.
"""
