# SPDX-License-Identifier: Apache-2.0
"""The steps of the GitHub action `.github/actions/check`, which runs them as `python -I -m hmopt_bot.action STEP`.

May import `cli`, `loop`, `report`, `store`, `process`, `config`, `records` and `errors`, and nothing that the extra
`bot` installs. Inputs and the event come from the runner's environment; out go log lines, a summary and outputs.
"""
