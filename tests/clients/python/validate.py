"""validate.py SCHEMA FILE…: a line for each TOML file, with the places where it is not as the JSON Schema says."""

import json
import sys

import jsonschema
import tomli

with open(sys.argv[1], "rb") as file:
    schema = json.load(file)
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)
for name in sys.argv[2:]:
    with open(name, "rb") as file:
        document = tomli.load(file)
    errors = validator.iter_errors(document)
    print("; ".join(f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors))
