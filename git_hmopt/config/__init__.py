# SPDX-License-Identifier: Apache-2.0
"""`.hmopt.yaml`: its schema, where each key stands, the shipped profiles, overlays and their trust digest.

May import `errors`, `records` and, to fill adapter options, pydantic. Bytes come in (from a commit or a file, the
caller decides), typed configuration goes out; every complaint names file, line, key and what was expected.
"""
