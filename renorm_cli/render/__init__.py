"""Renders reports as text: functions from data to text that print nothing and open no file."""
