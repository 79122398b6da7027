# SPDX-License-Identifier: Apache-2.0
"""What the bot does about a pull request: says what it touches, measures it when somebody may ask, answers commands.

Deliveries, measurements and their outcomes are jobs of the queue, done at least once; so each effect can be found
again: a comment by its marker, a check run by its external id, a proposal by its branch.
"""
