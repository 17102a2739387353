"""The Reformer (Kitaev, Kaiser & Levskaya 2020): long sequences in bounded memory."""
