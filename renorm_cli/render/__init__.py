"""Reports and foreign text made readable: functions from data to text, which print nothing and open no file."""
