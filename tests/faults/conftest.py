"""What lies here besides tests: programs of their own, and faults planted into other processes."""

collect_ignore = ["host_faults.py", "planted.py"]
