"""Measure the gateway against what a team would run instead: real servers, side by side, as ratios."""
