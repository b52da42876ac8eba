"""One command that starts the whole path on this machine, and one that proves it."""
