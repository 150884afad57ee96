"""The journey from a run or a Graph folder to a judged bundle."""
