"""Answer requests: the WSGI bridge, the in-process app, the HTTP upstream, the managed process."""
