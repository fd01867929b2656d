"""Key text: layout, peppers, minting, parsing and proof. Nothing else parses or makes it.

    {prefix}_{env}_{kid}_{pepper version}{secret}{tag}{checksum}
    ak_live_7Hk2mQ9xT4bVzR1c_1…            base62, lengths 16, 1, 43, 11, 6

Rules:
1. Key text leaves this package only as `Minted.text`, which the caller shows once and drops, and by
   `Imported.reveal`, for an import over the admin API.
2. No `repr`, message or exception here contains key text, a digest or a pepper.
3. Parsing is strict: one alphabet, exact lengths, no trimming, no case folding.
4. Every comparison with a secret value takes constant time.
5. The checksum needs no secret, so that scanners can use it. The tag needs the pepper, so that a
   forged key costs no I/O. Only the digest proves a key against its record.
6. An imported key was made by another system. It is any text that cannot be one of our keys. The
   text names no kid; the key is found by its digest under each of our peppers.
"""
