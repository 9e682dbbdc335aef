"""`make bench`: how fast the tap and the target are, against others on the same data in the same run."""
