"""What is wrong with caches before anything is trained on them."""
