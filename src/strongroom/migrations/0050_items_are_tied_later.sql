-- What a movement of a payout is of ours may be known only after the payout itself.
GRANT UPDATE (payment_id, refund_id, dispute_id) ON strongroom.payout_items TO strongroom_worker;
