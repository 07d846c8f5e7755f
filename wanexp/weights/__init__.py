"""Files of weights, known by what is in them: read from headers alone, before anything loads.

No torch here. A *part* is ``experts.NAME``, ``vae``, ``text_encoder`` or ``tokenizer``: what
``model.PART=FILE`` sets.
"""
