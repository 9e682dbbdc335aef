"""The SDK's standard target tests in full, and what each of them must leave in the tables."""

import decimal

import pytest
from singer_sdk.testing.config import SuiteConfig
from singer_sdk.testing.runners import TargetTestRunner
from singer_sdk.testing.suites import target_tests
from singer_sdk.testing.target_tests import TargetRecordMissingRequiredProperty

from target_postgres_stripe.target import TargetPostgresStripe

U = "\ufffd"

LEFT_BEHIND = {
    "array_data": {
        "SELECT id, fruits FROM stripe.test_array_data ORDER BY id": [
            (1, ["apple", "orange", "pear"]), (2, ["banana", "apple"]), (3, ["pear"]),
            (4, ["orange", "banana", "apple", "pear"]),
        ],
    },
    "camelcase": {
        'SELECT "Id", "clientName" FROM stripe."TestCamelcase" ORDER BY 1': [
            ("1", "Gitter Windows Desktop App"), ("2", "Gitter iOS App"),
        ],
    },
    "camelcase_complex_schema": {
        'SELECT count(*) FROM stripe."ForecastingTypeToCategory"': [(0,)],
    },
    "cli_prints": {"SELECT count(*) FROM pg_namespace WHERE nspname = 'stripe'": [(0,)]},
    "duplicate_records": {
        "SELECT id, metric FROM stripe.test_duplicate_records ORDER BY id": [(1, 100), (2, 20)],
    },
    "encoded_string_data": {
        "SELECT id, info FROM stripe.test_strings ORDER BY id": [
            (1, "simple string 2837"), (2, "απλή συμβολοσειρά"), (3, "简单的字串"), (4, "chaîne simple"),
            (5, 'quoted "string"'), (6, 'various " \\ / \n escape sequences'), (7, "m"), (8, "ā"), (9, "ƙ"),
            (10, "Double quoting: \\u0000 \\u0041 \\u0001"), (11, f"Control Characters in string: {U} A \x01"),
        ],
        "SELECT info->>'value' FROM stripe.test_strings_in_objects WHERE id >= 6 ORDER BY id": [
            ('various " \\ / \n escape sequences',), ("m",), ("ā",), ("ƙ",),
            (" \\u0000 \\u0041 \\u0001",), (f"{U} A \x01",),
        ],
        "SELECT strings->>1 FROM stripe.test_strings_in_arrays WHERE id >= 5 ORDER BY id": [
            ("Double quoting: \\u0000 \\u0041 \\u0001",), (f"Control Characters in string: {U} A \x01",),
        ],
    },
    "invalid_schema": {"SELECT count(*) FROM pg_namespace WHERE nspname = 'stripe'": [(0,)]},
    "no_primary_keys": {"SELECT id, metric FROM stripe.test_no_pk ORDER BY id": [(1, 11), (2, 22), (3, 33)]},
    "optional_attributes": {
        "SELECT id, optional FROM stripe.test_optional_attributes ORDER BY id": [
            (1, "This is optional"), (2, None), (3, "Also optional"), (4, None),
        ],
    },
    "pk_updates": {
        # The key in this stream's schema is not where Singer has it, so the stream has none.
        "SELECT id, name, email FROM stripe.example_stream ORDER BY id": [
            (1, "Alice", "alice@example.com"), (2, "Bob", "bob@example.com"),
        ],
    },
    "record_before_schema": {"SELECT count(*) FROM pg_namespace WHERE nspname = 'stripe'": [(0,)]},
    "record_missing_fields": {
        "SELECT id, optional FROM stripe.record_missing_fields ORDER BY id": [(1, "now you see me"), (2, None)],
    },
    "record_missing_key_property": {"SELECT count(*) FROM pg_namespace WHERE nspname = 'stripe'": [(0,)]},
    "record_missing_required_property": {
        "SELECT id, metric FROM stripe.test_record_missing_required_property": [(None, 3215)],
    },
    "schema_no_properties": {
        "SELECT object_store FROM stripe.test_object_schema_with_properties ORDER BY object_store->'id'": [
            ({"id": 1, "metric": 187},), ({"id": 2, "metric": 203},),
        ],
        "SELECT object_store FROM stripe.test_object_schema_no_properties ORDER BY object_store->'id'": [
            ({"id": 1, "metric": 1},), ({"id": 2, "metric": 2},),
        ],
    },
    "schema_updates": {
        "SELECT id, a1, a2, a3, a4, a5, a6 FROM stripe.test_schema_updates ORDER BY id": [
            (1, decimal.Decimal(101), "string1", None, None, None, None),
            (2, decimal.Decimal(102), "string2", True, None, None, None),
            (3, decimal.Decimal(103), "string3", False, {"id": 1, "value": 1}, ["banana", "apple"], None),
            (4, decimal.Decimal(104), "string4", True, {"id": 2, "value": 22}, ["orange", "pear"], None),
            (5, decimal.Decimal(105), "string5", False, {"id": 3, "value": 33}, ["apple"], 985),
            (6, decimal.Decimal(106), "string6", True, {"id": 4, "value": 444}, ["banana", "orange"], 341),
        ],
    },
    "special_chars_in_attributes": {
        'SELECT _id, d, _sdc_table_version, _sdc_extracted_at::text FROM stripe."test_SpecialChars_in_attributes"': [
            (
                "a2e98886", {"env": "prod", "agent:type": "desktop", "agent:os:version": "10.13.1"},
                1541199424491, "2018-11-02 22:57:04.84102+00",
            ),
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("case", [*target_tests.tests, TargetRecordMissingRequiredProperty], ids=lambda case: case.name)
def test_standard_target_test_passes_and_leaves_the_right_rows(case, database, rows):
    runner = TargetTestRunner(TargetPostgresStripe, config={"database_url": database})
    case().run(SuiteConfig(), None, runner)
    if runner.target_input is not None:
        runner.target_input.close()
    assert {query: rows(query) for query in LEFT_BEHIND[case.name]} == LEFT_BEHIND[case.name]
