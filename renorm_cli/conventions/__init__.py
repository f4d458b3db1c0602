"""What a weight is, and which of its axes name units."""
