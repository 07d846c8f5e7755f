"""The compare page: a study as one static page, for people who want to see before they believe.

``content`` and ``verdict`` turn records into plain data, ``media`` brings the videos along,
``page`` puts data and ``assets/`` (hand-written HTML, CSS and JavaScript) together; ``command`` is
the verb.
"""
