# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of evidence packs, for whoever reads them without this program.

`evidence-pack.schema.json` beside this file is what the models give; a test holds them equal.
"""

from __future__ import annotations

import json

from pydantic.json_schema import GenerateJsonSchema

from git_hmopt.records.evidence import EvidencePack


def pack_schema_text() -> str:
    """Return the schema as it is printed and shipped."""
    schema = {"$schema": GenerateJsonSchema.schema_dialect, **EvidencePack.model_json_schema(mode="serialization")}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
