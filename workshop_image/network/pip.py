# Added by tmpnb-py. All ways to pip come by here: `pip`, `%pip` and `python -m pip`.
if __import__("os").environ.get("TMPNB_EGRESS") == "none":
    __import__("tmpnb_network").explain_pip()
