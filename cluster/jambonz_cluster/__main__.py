"""Lets ``python -m jambonz_cluster`` do what the command ``jambonz-cluster`` does."""

from jambonz_cluster.cli import main

if __name__ == "__main__":
    main(prog_name="jambonz-cluster")
