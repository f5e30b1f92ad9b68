"""What methods make of the pair's decoder: other positions, other attention, LoRA of their own."""
