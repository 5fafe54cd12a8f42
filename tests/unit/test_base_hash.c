#include "tests/unit/unit.h"

#include "base/hash.h"

static void sha256_of_known_texts(void **state)
{
	/* FIPS 180-2, appendix B; NIST's long and empty vectors */
	static const struct {
		const char *text;
		size_t times;
		const char *hex;
	} cases[] = {
		{"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
			"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
		{"a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
	};
	struct sha256 h = {0};

	(void)state;
	for (size_t i = 0; i < array_len(cases); i++) {
		uint8_t sum[SHA256_BYTES];
		char hex[SHA256_HEX_BYTES];

		sha256_init(&h);
		for (size_t n = 0; n < cases[i].times; n++)
			sha256_update(&h, cases[i].text, strlen(cases[i].text));
		sha256_final(&h, sum);
		assert_string_equal(hex_encode(sum, sizeof(sum), hex), cases[i].hex);
		if (cases[i].times == 1) {
			sha256_of(cases[i].text, strlen(cases[i].text), sum);
			assert_string_equal(hex_encode(sum, sizeof(sum), hex), cases[i].hex);
		}
	}
	sha256_release(&h);
	sha256_release(&h);
}

static void crc32c_of_known_bytes(void **state)
{
	/* RFC 3720, appendix B.4 */
	uint8_t bytes[32];

	(void)state;
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(crc32c(bytes, sizeof(bytes)), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(crc32c(bytes, sizeof(bytes)), 0x62a8ab43);
	for (uint8_t i = 0; i < 32; i++)
		bytes[i] = i;
	assert_int_equal(crc32c(bytes, sizeof(bytes)), 0x46dd794e);
	for (uint8_t i = 0; i < 32; i++)
		bytes[i] = 31 - i;
	assert_int_equal(crc32c(bytes, sizeof(bytes)), 0x113fdb5c);
	assert_int_equal(crc32c("123456789", 9), 0xe3069283);
	assert_int_equal(crc32c("", 0), 0);
}

static void hex_is_read_back_and_damage_refused(void **state)
{
	uint8_t got[4] = {9, 9, 9, 9};
	char hex[9];

	(void)state;
	assert_int_equal(hex_decode("00fFa5", got, 3), 0);
	assert_int_equal(got[0], 0);
	assert_int_equal(got[1], 255);
	assert_int_equal(got[2], 0xa5);
	assert_int_equal(got[3], 9);
	assert_string_equal(hex_encode("\x01\xfe", 2, hex), "01fe");
	assert_int_equal(hex_decode("00f", got, 2), -1);
	assert_int_equal(hex_decode("00ff0", got, 2), -1);
	assert_int_equal(hex_decode("00fg", got, 2), -1);
	assert_int_equal(hex_decode("", got, 0), 0);
}

static void random_bytes_differ(void **state)
{
	uint8_t a[32], b[32];
	struct error err = ERROR_INIT;

	(void)state;
	assert_ok(random_bytes(a, sizeof(a), &err), &err);
	assert_ok(random_bytes(b, sizeof(b), &err), &err);
	assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_of_known_texts),
		cmocka_unit_test(crc32c_of_known_bytes),
		cmocka_unit_test(hex_is_read_back_and_damage_refused),
		cmocka_unit_test(random_bytes_differ),
	};

	return cmocka_run_group_tests_name("base/hash", tests, NULL, NULL);
}
