"""The list of bad input at the edges, and where each item of it is tested; no item is without a test that there is.

Floods and slowness on raw connections are listed by tests/abuse, hostile peers by the other modules of this package.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent

CALLS = {  # gRPC and HTTP/2: programs, operators (the same calls on a listener more) and nodes
    "plaintext to a TLS port": ["security/test_diagnosis.py::test_plaintext_to_a_tls_port"],
    "TLS to a plaintext port": ["security/test_diagnosis.py::test_tls_to_a_plaintext_port"],
    "expired": ["security/test_diagnosis.py::test_a_certificate_that_has_ended_since"],
    "not yet valid, and other broken sets": ["security/test_files.py::test_each_mistake_is_told_by_name"],
    "of another name": ["security/test_diagnosis.py::test_a_server_of_another_name"],
    "of another authority": [
        "security/test_mutual.py::test_other_authority",
        "cli/test_denied.py::test_anybody_else_is_denied",
    ],
    "a client's certificate between nodes": [
        "security/test_mutual.py::test_no_other_certificate_speaks_node_to_node"
    ],
    "10^4 idle connections, at every port, plaintext and TLS": ["abuse/test_floods.py::test_idle_connections"],
    "slow-loris handshake": ["abuse/test_floods.py::test_a_handshake_byte_by_byte"],
    "slow-loris body": ["abuse/test_floods.py::test_bodies_that_never_end"],
    "ping flood": ["abuse/test_floods.py::test_pings"],
    "SETTINGS flood": ["abuse/test_floods.py::test_settings_without_end"],
    "RST_STREAM flood": ["abuse/test_floods.py::test_rapid_resets"],
    "CONTINUATION flood": ["abuse/test_floods.py::test_headers_that_go_on_and_on"],
    "headers that unpack to much": ["abuse/test_floods.py::test_metadata_of_a_megabyte"],
    "stream never read, half-closed": ["abuse/test_floods.py::test_answers_that_are_never_read"],
    "10^5 watches": ["abuse/test_floods.py::test_watches_without_end"],
    "authority header tricks": ["abuse/test_floods.py::test_tricks_with_the_authority"],
    "pings, resets and headers at a node's port": [
        "transport/test_hostile.py::test_ping_flood",
        "transport/test_hostile.py::test_rapid_reset",
        "transport/test_hostile.py::test_headers_without_end",
    ],
    "idle and half-open connections at a node's port": [
        "transport/test_hostile.py::test_idle_and_half_open_connections"
    ],
    "metadata": [
        "service/test_hostile.py::test_what_gRPC_refuses_never_reaches_the_node",
        "service/test_hostile.py::test_garbage_in_binary_metadata_does_no_harm",
        "transport/test_hostile.py::test_metadata_beyond_bounds",
    ],
    "compressed bombs between nodes": ["transport/test_hostile.py::test_oversized_frame"],
    "an unknown method": [
        "service/test_hostile.py::test_what_gRPC_refuses_never_reaches_the_node",
        "transport/test_hostile.py::test_unknown_method",
    ],
    "cancelled in the middle": [
        "service/test_streams.py::test_a_stream_left_half_way_changes_only_what_came",
        "transport/test_hostile.py::test_cancel_mid_stream",
    ],
    "never read": [
        "service/test_hostile.py::test_streams_that_say_nothing_or_are_not_read_hold_up_nobody",
        "service/test_streams.py::test_a_reader_that_does_not_read_at_all_is_ended",
        "transport/test_hostile.py::test_a_stream_never_read",
    ],
    "too many watches": ["service/test_streams.py::test_watches_are_bounded"],
    "a forged page token": ["service/test_streams.py::test_a_forged_cursor_is_refused"],
    "every bad request": [
        "service/test_hostile.py::test_every_bad_request_is_refused_by_name_and_changes_nothing",
        "service/test_hostile.py::test_every_bad_wish_of_an_operator_is_refused_by_name",
    ],
}

OPERATORS = {  # files, directories, settings, certificates, logs
    "names like paths in keys and buckets": ["cli/test_paths.py::test_names_that_look_like_paths_are_only_names"],
    "names like paths of rescue files": ["service/test_admin.py::test_rescue_files_that_there_are_not"],
    "names like paths of certificates": ["cli/test_tls.py::test_names_never_leave_the_folder"],
    "an archive bomb": ["backup/test_damage.py::test_a_payload_that_would_fill_the_memory_is_refused"],
    "a damaged backup": [
        "backup/test_damage.py::test_a_file_that_is_cut_off_anywhere",
        "backup/test_damage.py::test_a_bit_that_is_flipped_anywhere",
    ],
    "something that is no backup, to a running node": [
        "service/test_admin.py::test_a_restore_of_what_is_no_backup_changes_nothing"
    ],
    "a backup of another cluster": ["backup/test_merge.py::test_backups_of_another_cluster"],
    "a backup of a newer format": ["backup/test_damage.py::test_a_newer_format_says_so"],
    "a directory that is not ours": [
        "storage/test_directory.py::test_a_foreign_directory_is_refused_and_left_alone",
        "cli/test_start.py::test_a_directory_that_is_something_else",
    ],
    "links": [
        "storage/test_directory.py::test_a_second_open_in_one_process_is_refused",
        "storage/test_directory.py::test_a_file_in_the_way_is_a_foreign_directory",
        "cli/test_paths.py::test_a_restore_follows_no_link_that_was_planted",
        "cli/test_paths.py::test_nothing_is_written_through_a_link_to_nowhere",
    ],
    "read-only": ["cli/test_paths.py::test_what_cannot_be_written_is_named"],
    "a full disk": ["storage/test_full_disk.py::"],
    "in use": [
        "storage/test_directory.py::test_a_second_process_is_refused_and_a_killed_one_leaves_its_writes",
        "cli/test_start.py::test_a_directory_in_use",
        "backup/test_restore.py::test_a_store_is_replaced_only_by_force_and_never_in_use",
    ],
    "unknown settings and wrong types": [
        "cli/test_config.py::test_a_wrong_file_says_what_and_where",
        "cli/test_config.py::test_a_variable_that_there_is_not",
        "cli/test_config.py::test_text_that_is_no_value",
    ],
    "bad ports, and beyond loopback without TLS": ["cli/test_paths.py::test_addresses_that_may_not_be"],
    "a key that all can read": [
        "security/test_files.py::test_a_key_that_all_can_read_is_told",
        "cli/test_tls.py::test_keys_are_for_their_owner_only",
    ],
    "lines in the log": [
        "cli/test_paths.py::test_names_write_no_lines_into_the_log",
        "cli/test_grpclog.py::test_a_stranger_writes_no_lines_of_its_own",
        "metrics/test_logs.py::test_what_others_say_begins_no_line_of_text",
    ],
    "lines in metrics": ["metrics/test_metrics.py::test_names_that_are_hostile_are_escaped"],
    "control characters on the terminal": ["cli/test_data.py::test_keys_and_values_cannot_steer_the_terminal"],
    "import files": [
        "cli/test_transfer.py::test_a_wrong_line_is_named_and_what_stood_before_it_counts",
        "cli/test_transfer.py::test_bytes_that_are_no_text_are_refused",
        "cli/test_transfer.py::test_a_wrong_table_is_refused",
    ],
    "export over a file": ["cli/test_transfer.py::test_a_file_that_is_there_is_not_replaced"],
}


@pytest.mark.parametrize("item", [*CALLS, *OPERATORS])
def test_each_item_has_a_test(item: str) -> None:
    for entry in (CALLS | OPERATORS)[item]:
        file, _, test = entry.partition("::")
        assert re.search(rf"^(async )?def {test or 'test_'}", (TESTS / file).read_text(), re.MULTILINE), entry
