"""Zip archives, read strictly and edited byte by byte."""
