"""First steps on a scan: moments in one pass, then the centre, the mask and the counts."""
