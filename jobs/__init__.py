"""The verbs: the command line, and the jobs that bind factory, models and manifests on Ray."""
