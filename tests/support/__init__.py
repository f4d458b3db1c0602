"""What tests share: builders, oracles, and ways to run the tool."""
