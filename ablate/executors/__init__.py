"""Where runs run: on this machine or a Ray cluster, under one schedule."""
