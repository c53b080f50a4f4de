"""The services behind ``foodstream local``: one module a service, and what they share.

``process`` starts, recognises and stops processes; ``ports`` finds free ones; ``postgres`` and ``kafka`` each know
one server; ``runtime`` finds the Java runtime and Kafka's jars. ``foodstream.local`` puts them together.
Nothing here imports the Rust core, so the stack works before the extension is built.
"""
