"""Command line of jambonz-cluster, and everything that runs a whole cluster on one machine."""
