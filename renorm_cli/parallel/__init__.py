"""Threads, and the memory that they reuse."""
