"""Threads, and the memory they reuse."""
