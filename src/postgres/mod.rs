//! All PostgreSQL knowledge: connections, TLS, catalogue, quoting, binary COPY, value codecs.
