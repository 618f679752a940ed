"""Whether compatcanary found fault with anything: python compatcanary.py REPORT"""

import json
import sys

report = json.load(open(sys.argv[1], encoding="utf-8"))
failed = []
for check in report["results"]:
    print(f"compatcanary: {check['id']} {check['status']}: {check['summary']}")
    if check["status"] == "fail":
        failed.append(check["id"])
assert not failed, failed
