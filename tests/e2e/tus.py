"""Uploads a file with tuspy: python3 tus.py URL FILE OPTIONS, where the options of its uploader are JSON."""

import json
import sys

from tusclient.client import TusClient

url, file, options = sys.argv[1:]
uploader = TusClient(url).uploader(file, **json.loads(options))
uploader.upload()
print(uploader.url)
