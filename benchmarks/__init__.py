"""Measurements that write the figures this repository states."""
