"""What becomes of money after it was taken: disputes, payouts, and what they have in common."""
