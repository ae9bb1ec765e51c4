"""Models: from coefficients to what a site is and how it is turned."""
