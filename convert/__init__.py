"""A RUN, or any Keras classifier, -> a BUNDLE, published if its files still give Keras's answers.

`conversion` is the library, `pipeline` the straight line; each room imports only those that come after it in this order:
commands, conversion, publish and compare, pipeline, report, gate, run, export, anatomy and source.
"""
