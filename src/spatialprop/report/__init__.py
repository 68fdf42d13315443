"""What a run or a multirun found, rebuilt at any time from its folder: tables, figures and a page."""
